"""Write manifests beside outputs, and read them."""
