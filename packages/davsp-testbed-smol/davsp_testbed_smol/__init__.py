"""The trained parts of testbed-smol: tower.safetensors and lora.safetensors. `davsp testbed fetch smol` reads them."""
