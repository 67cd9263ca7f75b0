# Finds ScaLAPACK by pkg-config, then by name, and checks that it links. The package's own CMake
# config is passed over: on Debian 12 it names a file that is not shipped.
pkg_check_modules(PC_SCALAPACK QUIET scalapack-openmpi)
if(NOT PC_SCALAPACK_FOUND)
  pkg_check_modules(PC_SCALAPACK QUIET scalapack)
endif()
find_library(ScaLAPACK_LIBRARY NAMES scalapack scalapack-openmpi
  HINTS ${PC_SCALAPACK_LIBRARY_DIRS})

if(ScaLAPACK_LIBRARY)
  include(CheckFunctionExists)
  set(CMAKE_REQUIRED_LIBRARIES ${ScaLAPACK_LIBRARY} LAPACK::LAPACK MPI::MPI_C)
  check_function_exists(pdgemm_ ScaLAPACK_LINKS)
  unset(CMAKE_REQUIRED_LIBRARIES)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(ScaLAPACK REQUIRED_VARS ScaLAPACK_LIBRARY ScaLAPACK_LINKS)

if(ScaLAPACK_FOUND AND NOT TARGET ScaLAPACK::ScaLAPACK)
  add_library(ScaLAPACK::ScaLAPACK UNKNOWN IMPORTED)
  set_target_properties(ScaLAPACK::ScaLAPACK PROPERTIES
    IMPORTED_LOCATION ${ScaLAPACK_LIBRARY}
    INTERFACE_LINK_LIBRARIES "LAPACK::LAPACK;MPI::MPI_C")
endif()
mark_as_advanced(ScaLAPACK_LIBRARY)
