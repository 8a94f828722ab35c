"""Make one Gemm of a dense layer's product and its bias: in 8 bits, two operators would round twice."""

from typing import Any

from edgecv_onnx.elements import ranks
from edgecv_onnx.graph import Graph

__all__ = ["join_dense"]


def join_dense(graph: Graph) -> None:
    """Join in place. tf2onnx 1.17 does so itself only where it knows how many pictures there are."""
    known, readers = ranks(graph), graph.readers()
    gone = []
    for product in graph.nodes:
        following = readers.get(product.output[0], []) if product.op_type == "MatMul" else []
        if len(following) != 1 or following[0] is None or following[0].op_type != "Add":
            continue
        weights = graph.constants.get(product.input[1])
        if weights is None or weights.ndim != 2 or known.get(product.input[0]) != 2:
            continue
        add = following[0]
        bias = next((name for name in add.input if name in graph.constants), "")
        if bias and graph.constants[bias].size == weights.shape[1]:
            _become_gemm(graph, product, add, bias)
            gone.append(add)
    graph.remove(gone)


def _become_gemm(graph: Graph, product: Any, add: Any, bias: str) -> None:
    product.op_type = "Gemm"
    flat = f"{product.name}:bias"
    graph.constants[flat] = graph.constants[bias].reshape(-1)
    product.input.append(flat)
    graph.absorb(product, add)
