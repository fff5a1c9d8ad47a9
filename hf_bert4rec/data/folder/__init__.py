"""A table of any size, prepared as a folder of histories that training maps to memory."""
