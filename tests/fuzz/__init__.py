"""Files as nobody should write them, given to what a user would run: `make fuzz`."""
