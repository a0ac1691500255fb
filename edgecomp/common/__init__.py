"""What every room stands on: values, errors, events, quantities, files and their limits."""
