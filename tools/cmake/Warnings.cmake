# Warnings.cmake - one set of warnings for every target (interface library ql_warnings).
add_library(ql_warnings INTERFACE)
target_compile_options(ql_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes
    -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wformat=2 -Wvla -Wconversion -Wno-sign-conversion)
if(QLORA_WERROR)
    target_compile_options(ql_warnings INTERFACE -Werror)
endif()
