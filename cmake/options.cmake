option(MR_NATIVE "Compile for this machine's processor (-march=native)" OFF)
option(MR_SANITIZE "Address and undefined-behaviour sanitizers, allocation guard" OFF)
option(MR_WERROR "Warnings are errors" OFF)
option(MR_CUDA "The backend for NVIDIA's devices (needs nvcc, cuBLASLt)" OFF)
set(MR_NCCL AUTO CACHE STRING "NCCL between devices, with MR_CUDA: AUTO (where it is found), ON or OFF")
option(MR_FUZZ "Fuzz targets of the loaders (needs clang and its libFuzzer)" OFF)
option(MR_BUILD_TESTS "Build the tests (needs cmocka)" ON)

include(FeatureSummary)
add_feature_info(native MR_NATIVE "code for this machine's processor")
add_feature_info(sanitizers MR_SANITIZE "address and undefined behaviour")
add_feature_info(cuda MR_CUDA "parallel.backend: cuda")
add_feature_info(tests MR_BUILD_TESTS "unit, golden and command-line tests")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# What every source of ours is compiled with. No -ffast-math: NaN checks and repeatable bits need
# IEEE rules. Contraction into fused multiply-adds is the compiler's, the same in every run.
add_library(mr_flags INTERFACE)
target_compile_definitions(mr_flags INTERFACE _POSIX_C_SOURCE=200809L)
target_compile_options(mr_flags INTERFACE
  $<$<NOT:$<COMPILE_LANGUAGE:CUDA>>:-Wall -Wextra -Wpedantic -Wshadow -Wconversion>
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes> $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
  $<$<COMPILE_LANGUAGE:C>:-Werror=incompatible-pointer-types>
  $<$<COMPILE_LANGUAGE:CUDA>:--extended-lambda -Xcompiler=-Wall,-Wextra>
  $<$<CONFIG:Release>:-O3>
  $<$<AND:$<BOOL:${MR_NATIVE}>,$<NOT:$<COMPILE_LANGUAGE:CUDA>>>:-march=native>
  $<$<AND:$<BOOL:${MR_WERROR}>,$<NOT:$<COMPILE_LANGUAGE:CUDA>>>:-Werror>
  $<$<AND:$<BOOL:${MR_WERROR}>,$<COMPILE_LANGUAGE:CUDA>>:-Werror=all-warnings>)
if(MR_SANITIZE)
  target_compile_definitions(mr_flags INTERFACE MR_DEBUG)
  target_compile_options(mr_flags INTERFACE
    -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(mr_flags INTERFACE -fsanitize=address,undefined)
endif()
if(MR_FUZZ)
  target_compile_options(mr_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
