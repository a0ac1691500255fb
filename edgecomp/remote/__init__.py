"""Measuring an artifact on the device it is for, reached over ssh or adb."""
