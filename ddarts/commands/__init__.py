"""What the command line does: reading options, calling the library, printing results. Imports nothing heavy."""
