# Options.cmake - every build option, its default, and the packages that answer it.
include(GNUInstallDirs)
include(CheckCSourceCompiles)

# An option that says AUTO, ON or OFF: AUTO takes what is there, ON insists.
function(ql_option name default help)
    set(${name} ${default} CACHE STRING "${help}")
    set_property(CACHE ${name} PROPERTY STRINGS AUTO ON OFF)
    if(NOT ${name} MATCHES "^(AUTO|ON|OFF)$")
        message(FATAL_ERROR "${name} is '${${name}}'; it takes AUTO, ON or OFF")
    endif()
endfunction()

ql_option(QLORA_OPENMP AUTO "OpenMP threads in the CPU backend")
ql_option(QLORA_OPENCL AUTO "The OpenCL backend, a module of its own (needs headers and the ICD loader)")
option(QLORA_SHARED "Build libqlora as a shared library" ON)
option(QLORA_TESTS "Build the tests" ON)
option(QLORA_TOOLS "Build the command-line program" ON)
option(QLORA_FUZZ "Build the libFuzzer programs of the parsers (clang)" OFF)
option(QLORA_WERROR "Treat warnings as errors" OFF)
set(QLORA_SANITIZE "" CACHE STRING "Sanitizers, as in -fsanitize=: address,undefined or thread")

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release or RelWithDebInfo" FORCE)
endif()
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# Results must not depend on which products the compiler fuses into an fma: the kernels say where.
add_compile_options(-ffp-contract=off -fno-math-errno)

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

# Libraries that do what is not the engine; tools/install-deps installs them all.
set(QLORA_PKGCONFIG jansson>=2.13 libpcre2-8 libutf8proc libxxhash)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson>=2.13)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(LAPACKE REQUIRED lapacke) # headers: core/loftq loads the library by itself
pkg_check_modules(BLAS REQUIRED blas)       # with its CBLAS; OpenBLAS is the fast one
if(QLORA_TOOLS)
    pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1) # files of settings
endif()
if(QLORA_TESTS)
    pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()

set(QL_HAVE_OPENMP OFF)
if(NOT QLORA_OPENMP STREQUAL "OFF")
    find_package(OpenMP COMPONENTS C)
    if(OpenMP_C_FOUND)
        set(QL_HAVE_OPENMP ON)
    elseif(QLORA_OPENMP STREQUAL "ON")
        message(FATAL_ERROR "QLORA_OPENMP=ON, but this compiler has no OpenMP (clang: install libomp-dev)")
    endif()
endif()

set(QL_HAVE_OPENCL OFF)
if(NOT QLORA_OPENCL STREQUAL "OFF")
    find_package(OpenCL)
    if(OpenCL_FOUND)
        set(QL_HAVE_OPENCL ON)
    elseif(QLORA_OPENCL STREQUAL "ON")
        message(FATAL_ERROR "QLORA_OPENCL=ON, but there are no OpenCL headers or no ICD loader (Debian: opencl-headers, ocl-icd-opencl-dev)")
    endif()
endif()
# Backend modules are found beside the library: in the build tree by its folder, installed by $ORIGIN.
list(APPEND CMAKE_BUILD_RPATH ${PROJECT_BINARY_DIR}/backends/opencl)
list(APPEND CMAKE_INSTALL_RPATH "$ORIGIN" "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")

if(QLORA_FUZZ)
    set(CMAKE_REQUIRED_FLAGS "-fsanitize=fuzzer")
    check_c_source_compiles("#include <stddef.h>
        int LLVMFuzzerTestOneInput(const unsigned char *p, size_t n);
        int LLVMFuzzerTestOneInput(const unsigned char *p, size_t n) { return p == 0 && n == 1; }" QL_FUZZER_LINKS)
    unset(CMAKE_REQUIRED_FLAGS)
    if(NOT QL_FUZZER_LINKS)
        message(FATAL_ERROR "QLORA_FUZZ=ON, but ${CMAKE_C_COMPILER} cannot link -fsanitize=fuzzer; use clang with compiler-rt")
    endif()
endif()
