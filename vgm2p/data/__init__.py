"""The bundled dataset; see README.md in this folder."""
