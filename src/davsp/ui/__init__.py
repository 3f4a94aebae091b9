"""The page of `davsp ui`. Only `page` needs gradio."""
