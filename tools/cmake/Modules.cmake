# Modules.cmake - how a folder becomes part of the build:
#   ql_module(name SOURCES ... [LIBS ...])                       one OBJECT library, collected into libqlora
#   ql_test(name SOURCES ... MODULES ... [LABELS ...] [LIBS ...]) one CMocka program, one ctest entry
# (fuzz targets: tests/fuzz/CMakeLists.txt)
define_property(GLOBAL PROPERTY QL_MODULES BRIEF_DOCS "modules of libqlora" FULL_DOCS "modules of libqlora")
define_property(GLOBAL PROPERTY QL_MODULE_LIBS BRIEF_DOCS "what the modules link" FULL_DOCS "what the modules link")
set(QL_TEST_TIMEOUT_S 300)
if(QLORA_SANITIZE)
    set(QL_TEST_TIMEOUT_S 1500)
endif()

function(ql_module name)
    cmake_parse_arguments(M "" "" "SOURCES;LIBS" ${ARGN})
    add_library(ql_${name} OBJECT ${M_SOURCES})
    add_dependencies(ql_${name} ql_version)
    target_include_directories(ql_${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include
                                                 ${PROJECT_BINARY_DIR}/include)
    target_link_libraries(ql_${name} PRIVATE ql_warnings PUBLIC Threads::Threads ${M_LIBS})
    set_property(GLOBAL APPEND PROPERTY QL_MODULES ql_${name})
    set_property(GLOBAL APPEND PROPERTY QL_MODULE_LIBS ${M_LIBS})
endfunction()

# Programs link the modules that they name as objects, so that internal functions are reachable.
function(ql_link_modules target)
    foreach(m IN LISTS ARGN)
        target_link_libraries(${target} PRIVATE ql_${m})
    endforeach()
    target_link_libraries(${target} PRIVATE ql_warnings m)
endfunction()

# One ctest entry for a CMocka program: the wrapper turns "every test skipped" into ctest's "Skipped".
function(ql_add_cmocka_test name target labels)
    add_test(NAME ${name} COMMAND ${PROJECT_SOURCE_DIR}/tests/support/run-cmocka $<TARGET_FILE:${target}>)
    set_tests_properties(${name} PROPERTIES LABELS "${labels}" SKIP_RETURN_CODE 77 TIMEOUT ${QL_TEST_TIMEOUT_S})
endfunction()

function(ql_test name)
    if(NOT QLORA_TESTS)
        return()
    endif()
    cmake_parse_arguments(T "" "" "SOURCES;MODULES;LABELS;LIBS" ${ARGN})
    add_executable(test_${name} ${T_SOURCES})
    ql_link_modules(test_${name} ${T_MODULES})
    target_link_libraries(test_${name} PRIVATE PkgConfig::CMOCKA ${T_LIBS})
    target_compile_definitions(test_${name} PRIVATE QL_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data"
                                                    QL_TEST_SHARED="${PROJECT_SOURCE_DIR}/../shared")
    ql_add_cmocka_test(${name} test_${name} "${T_LABELS}")
endfunction()

# A ctest entry that runs on an OpenCL device: kernels compiled by one test serve the next, one test at a time.
function(ql_opencl_test name labels)
    set(cache ${PROJECT_BINARY_DIR}/opencl-cache)
    file(MAKE_DIRECTORY ${cache})
    set_tests_properties(${name} PROPERTIES LABELS "${labels}" SKIP_RETURN_CODE 77 TIMEOUT 900 RESOURCE_LOCK opencl
        ENVIRONMENT "POCL_CACHE_DIR=${cache}/pocl;QLORA_CACHE=${cache}/qlora")
endfunction()
