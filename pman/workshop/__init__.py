"""What an author of templates works with, as data: commands print it, the API serves it, pages show it."""
