"""Networks in Flax linen, each handed out as a `Network(init, apply)`.

The only part of the package that imports flax. Modules see one example; batches
come by `vmap`.
"""
