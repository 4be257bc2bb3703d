"""Things to play with: plain JavaScript in a page of its own, no library. Python draws the first frame, JS moves it.

Each function returns an object that shows itself in Jupyter, on Colab and in the built book, with no kernel behind it.
The numbers are those of the package: the same formulas stand in the JavaScript, and the tests compare the two.
"""

from .accept_reject import accept_reject
from .gamma_map import gamma_map
from .mutation_matrix import changed_lines, mutation_matrix
from .rounds import Notes, rounds
