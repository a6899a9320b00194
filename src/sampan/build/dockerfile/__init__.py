"""The Dockerfile language: text in, frozen instructions out. Pure, no file is touched here."""

from sampan.build.dockerfile.grammar import onbuild_steps, parse
from sampan.build.dockerfile.instructions import Dockerfile, Instruction, Stage
from sampan.build.dockerfile.words import BadSubstitution, expand

__all__ = [
    "BadSubstitution",
    "Dockerfile",
    "Instruction",
    "Stage",
    "expand",
    "onbuild_steps",
    "parse",
]
