"""Worker processes: started, listened to, limited, and told when they die."""
