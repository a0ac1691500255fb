"""What a device is: profiles, and this machine detected."""
