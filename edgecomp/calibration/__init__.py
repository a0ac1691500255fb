"""The text that compression is calibrated on."""
