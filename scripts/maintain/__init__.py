"""Maintainers' commands: training of the shipped networks, artefacts and figures."""
