"""Stages that go layer by layer: statistics, transfer, and matching from one design point to another."""
