# Library.cmake - libqlora from all modules, its installation, find_package(qlora) and pkg-config.
include(CMakePackageConfigHelpers)
get_property(QL_LIBRARY_MODULES GLOBAL PROPERTY QL_MODULES) # tools/ links the same ones
get_property(module_libs GLOBAL PROPERTY QL_MODULE_LIBS)
list(REMOVE_DUPLICATES module_libs)
list(FILTER module_libs EXCLUDE REGEX "^ql_") # modules are in as objects already

if(QLORA_SHARED)
    add_library(qlora SHARED)
else()
    add_library(qlora STATIC)
endif()
add_library(qlora::qlora ALIAS qlora)
foreach(module IN LISTS QL_LIBRARY_MODULES)
    target_sources(qlora PRIVATE $<TARGET_OBJECTS:${module}>)
endforeach()
if(NOT QL_LIBRARY_MODULES)
    message(FATAL_ERROR "no module was added: core/ and backends/ are empty")
endif()
target_link_libraries(qlora PRIVATE ${module_libs} Threads::Threads m)
target_include_directories(qlora PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                        $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>
                                        $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
add_dependencies(qlora ql_version)
# Until 1.0 every minor version may change the ABI, so it is part of the soname: libqlora.so.0.1.
set_target_properties(qlora PROPERTIES LINKER_LANGUAGE C VERSION ${PROJECT_VERSION}
                      SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})

# ---------------------------------------------------------------- installation
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/qlora)
install(TARGETS qlora EXPORT qloraTargets)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/qlora ${PROJECT_BINARY_DIR}/include/qlora
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(EXPORT qloraTargets NAMESPACE qlora:: DESTINATION ${config_dir})

configure_package_config_file(${PROJECT_SOURCE_DIR}/tools/cmake/qloraConfig.cmake.in
    ${PROJECT_BINARY_DIR}/qloraConfig.cmake INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/qloraConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/qloraConfig.cmake ${PROJECT_BINARY_DIR}/qloraConfigVersion.cmake
        DESTINATION ${config_dir})

# A static library passes on what it links; a shared one keeps it to itself.
list(JOIN QLORA_PKGCONFIG ", " QL_PC_REQUIRES)
string(REPLACE ">=" " >= " QL_PC_REQUIRES "${QL_PC_REQUIRES}")
set(QL_PC_LIBS "-lm ${CMAKE_THREAD_LIBS_INIT}")
if(QL_HAVE_OPENMP)
    string(APPEND QL_PC_LIBS " ${OpenMP_C_FLAGS}")
endif()
set(QL_PC_SUFFIX ".private")
if(NOT QLORA_SHARED)
    set(QL_PC_SUFFIX "")
endif()
foreach(kind LIB INCLUDE)
    if(IS_ABSOLUTE "${CMAKE_INSTALL_${kind}DIR}")
        set(QL_PC_${kind}DIR "${CMAKE_INSTALL_${kind}DIR}")
    else()
        set(QL_PC_${kind}DIR "\${prefix}/${CMAKE_INSTALL_${kind}DIR}")
    endif()
endforeach()
configure_file(${PROJECT_SOURCE_DIR}/tools/cmake/qlora.pc.in ${PROJECT_BINARY_DIR}/qlora.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/qlora.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
