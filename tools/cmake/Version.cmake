# Version.cmake - build/<preset>/include/qlora/version.h from version.h.in, with the git id of the tree.
# The target ql_version runs at every build and touches the file only when the id changed. This file is
# also the script that the target runs (cmake -P).
if(CMAKE_SCRIPT_MODE_FILE)
    set(QL_GIT_ID "unknown")
    execute_process(COMMAND git -C "${SOURCE_DIR}" describe --always --dirty --abbrev=12 --exclude=*
                    OUTPUT_VARIABLE id ERROR_QUIET RESULT_VARIABLE rc OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(rc EQUAL 0 AND id)
        set(QL_GIT_ID "${id}")
    endif()
    configure_file("${SOURCE_DIR}/include/qlora/version.h.in" "${OUTPUT}" @ONLY)
    return()
endif()

set(QL_VERSION_H "${PROJECT_BINARY_DIR}/include/qlora/version.h")
string(TOUPPER "${CMAKE_BUILD_TYPE}" ql_build_type)
string(STRIP "${CMAKE_C_FLAGS} ${CMAKE_C_FLAGS_${ql_build_type}}" QL_BUILD_FLAGS)
add_custom_target(ql_version ALL BYPRODUCTS "${QL_VERSION_H}" COMMENT "" VERBATIM
    COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${PROJECT_SOURCE_DIR} -DOUTPUT=${QL_VERSION_H}
            -DPROJECT_VERSION=${PROJECT_VERSION}
            -DPROJECT_VERSION_MAJOR=${PROJECT_VERSION_MAJOR}
            -DPROJECT_VERSION_MINOR=${PROJECT_VERSION_MINOR}
            -DPROJECT_VERSION_PATCH=${PROJECT_VERSION_PATCH}
            -DQL_BUILD_TYPE=${CMAKE_BUILD_TYPE}
            "-DQL_BUILD_FLAGS=${QL_BUILD_FLAGS}"
            "-DQL_COMPILER=${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}"
            -DQL_HAVE_OPENMP=${QL_HAVE_OPENMP}
            "-DQL_SANITIZE=${QLORA_SANITIZE}"
            -P "${CMAKE_CURRENT_LIST_FILE}")
