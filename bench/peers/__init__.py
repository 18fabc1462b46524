"""The contestants beside Millstream, each as its own users would write it."""
