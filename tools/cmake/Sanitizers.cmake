# Sanitizers.cmake - QLORA_SANITIZE, and libFuzzer's coverage, applied to every target of this project.
if(QLORA_SANITIZE)
    add_compile_options(-fsanitize=${QLORA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${QLORA_SANITIZE})
endif()
if(QLORA_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
    add_link_options(-fsanitize=fuzzer-no-link)
endif()
