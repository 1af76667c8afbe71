"""Plain values: ids, errors, sandbox, container, image, resources, events; state tables.

Foreign data becomes one of these at the border by one classmethod (`from_cri`).
"""
