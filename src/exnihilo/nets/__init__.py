"""Blocks and backbones, ignorant of any loss."""
