"""What llama.cpp's mtmd makes of a picture, in a process of its own.

    python tests/rows_of_picture.py PROJECTOR TEXT_MODEL PICTURE.npy ROWS.npy

The picture is uint8 [size, size, 3]; the rows are float32 [tokens, width].
"""

from __future__ import annotations

import ctypes
import sys

import numpy as np
from llama_cpp import mtmd_cpp as mtmd

from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp.session import Session

PICTURE_CHUNK = 1


def main(projector: str, text_model: str, picture_file: str, rows_file: str) -> None:
    picture = np.load(picture_file)
    size, width = picture.shape[0], picture.shape[1]
    with Session(text_model, RunSettings(context=256, threads=1), allocate=False) as session:
        parameters = mtmd.mtmd_context_params_default()
        parameters.use_gpu, parameters.n_threads = False, 1
        context = mtmd.mtmd_init_from_file(projector.encode(), session.model, parameters)
        pixels = (ctypes.c_ubyte * picture.size).from_buffer_copy(picture.tobytes())
        bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(mtmd.mtmd_bitmap_init(width, size, pixels))
        marker = mtmd.mtmd_default_marker()
        text = mtmd.mtmd_input_text(marker, len(marker), False, True)
        chunks = mtmd.mtmd_input_chunks_init()
        assert mtmd.mtmd_tokenize(context, chunks, ctypes.byref(text), bitmaps, 1) == 0
        for index in range(mtmd.mtmd_input_chunks_size(chunks)):
            chunk = mtmd.mtmd_input_chunks_get(chunks, index)
            if mtmd.mtmd_input_chunk_get_type(chunk) == PICTURE_CHUNK:
                assert mtmd.mtmd_encode_chunk(context, chunk) == 0
                count = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
                found = ctypes.cast(
                    mtmd.mtmd_get_output_embd(context), ctypes.POINTER(ctypes.c_float)
                )
                # Every tiny model is this wide.
                np.save(rows_file, np.ctypeslib.as_array(found, (count, 256)))


if __name__ == "__main__":
    main(*sys.argv[1:])
