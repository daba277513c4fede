"""Deterministic simulation: one seed is one world, whose workers crash, freeze and are told too little."""

from __future__ import annotations

from .oracle import Violation
from .plan import Plan
from .world import Report, simulate

__all__ = ["Plan", "Report", "Violation", "simulate"]
