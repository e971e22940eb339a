"""The mathematics of each operator, one folder per operator; imports nothing of ddarts."""
