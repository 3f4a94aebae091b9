"""Visual safety prompts as such: layouts, pixels, prefix; put on images."""
