"""Speed, memory and the state of the machine, measured."""
