"""How good is a model: features -> statistics -> number, and the report that puts several side by side."""

from exnihilo.evaluation.compare import compare
from exnihilo.evaluation.evaluate import Result, evaluate
from exnihilo.evaluation.extractors import Extractor, choose_extractor
from exnihilo.evaluation.reference import Reference
from exnihilo.evaluation.report import Report
from exnihilo.evaluation.rows import Row
from exnihilo.evaluation.value import ProtocolMismatch, Value

__all__ = [
    "Extractor", "ProtocolMismatch", "Reference", "Report", "Result", "Row", "Value", "choose_extractor", "compare",
    "evaluate",
]  # fmt: skip
