"""Array types that the modules share.

Arrays are (I, J, K) in voxel order with world coordinates RAS+ in mm; an axial slice is a
volume with one voxel along its slice axis.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

Triple = tuple[float, float, float]
IntTriple = tuple[int, int, int]

FloatArray = NDArray[np.floating[Any]]
Affine = Float[np.ndarray, "4 4"]
Volume3D = Float[np.ndarray, "i j k"]
Mask3D = Bool[np.ndarray, "i j k"]
Labels3D = Int[np.ndarray, "i j k"]
