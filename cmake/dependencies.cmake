set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(PkgConfig REQUIRED)
find_package(MPI 3.1 REQUIRED COMPONENTS C)
find_package(OpenMP REQUIRED COMPONENTS C)

# OpenBLAS by default; any CBLAS through BLA_VENDOR.
if(NOT DEFINED BLA_VENDOR)
  set(BLA_VENDOR OpenBLAS)
endif()
find_package(BLAS REQUIRED)
find_package(LAPACK REQUIRED)
find_path(MR_CBLAS_INCLUDE cblas.h PATH_SUFFIXES openblas openblas-openmp openblas-pthread REQUIRED)
set_property(TARGET BLAS::BLAS APPEND PROPERTY INTERFACE_INCLUDE_DIRECTORIES ${MR_CBLAS_INCLUDE})

find_package(ScaLAPACK REQUIRED)

# Rank 0 alone writes logs: a serial HDF5 does, and a parallel one too.
find_package(HDF5 1.10 REQUIRED COMPONENTS C)

pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd>=1.4)
pkg_check_modules(LZMA REQUIRED IMPORTED_TARGET liblzma)
pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)
find_package(Threads REQUIRED)
if(MR_BUILD_TESTS)
  # cmocka 1.1.5's own CMake config has no target.
  pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()

if(MR_CUDA)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90a-real 90-virtual)
  endif()
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  enable_language(CUDA)
  find_package(CUDAToolkit 12.4 REQUIRED)
  # Without it, attention is by our own kernels alone.
  find_path(MR_CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(MR_CUDNN_LIBRARY cudnn HINTS ${CUDAToolkit_LIBRARY_DIR})
  if(MR_CUDNN_INCLUDE AND MR_CUDNN_LIBRARY)
    set(MR_CUDNN ON)
  endif()
  add_feature_info(cudnn MR_CUDNN "attention in BF16 by cuDNN")
endif()
