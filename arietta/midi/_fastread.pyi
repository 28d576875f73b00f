_Columns = tuple[
    int,  # division
    bytearray,  # tempos
    bytearray,  # notes
    bytearray,  # pedals
    bytearray,  # programs
    bytearray,  # extra
    bytes,  # messages of extra
    tuple[tuple[int, str], ...],  # text
    int,  # unended
    int,  # modes
    int,  # early_ends
]

def parse(data: bytes) -> _Columns: ...
