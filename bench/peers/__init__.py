"""The contestants beside Millrace, each as its own users would write it."""
