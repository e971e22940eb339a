"""`ddarts bench`: how fast, compared with what, on which machine. Imports the rest of ddarts; nothing imports it."""
