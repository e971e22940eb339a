"""`ddarts report`: a run as one page that needs no other file, no network and no script."""
