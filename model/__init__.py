"""The bundled Mixture-of-Experts model: the architecture, the small trained release, the smoke test."""
