# mr_add_layer(NAME [LINK ...]): one static library mr_NAME from the sources of src/NAME and its
# folders. A layer without sources yet is an interface library.
function(mr_add_layer name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.c
    ${PROJECT_SOURCE_DIR}/src/${name}/*.cc)
  if(MR_CUDA)
    file(GLOB_RECURSE kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cu)
    list(APPEND sources ${kernels})
    if(NOT MR_CUDNN)
      list(FILTER sources EXCLUDE REGEX cudnn)
    endif()
  else()
    list(FILTER sources EXCLUDE REGEX "/src/${name}/cuda/")
  endif()
  if(sources)
    add_library(mr_${name} STATIC ${sources})
    target_include_directories(mr_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src
      PRIVATE ${PROJECT_BINARY_DIR}/include)
    target_link_libraries(mr_${name} PUBLIC ${ARG_LINK} m PRIVATE mr_flags)
  else()
    add_library(mr_${name} INTERFACE)
    target_link_libraries(mr_${name} INTERFACE ${ARG_LINK})
  endif()
endfunction()

# mr_add_embedded(LAYER HEADER FILE...): a header with files of src/LAYER as rows of an array of
# mr_embedded (base/embedded.h), for one of its sources to include: what the program needs travels in it.
function(mr_add_embedded layer header)
  list(TRANSFORM ARGN PREPEND ${PROJECT_SOURCE_DIR}/src/${layer}/)
  set(output ${PROJECT_BINARY_DIR}/include/${header})
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} "-DFILES=${ARGN}" -DOUTPUT=${output}
      -P ${PROJECT_SOURCE_DIR}/cmake/embedded.cmake
    DEPENDS ${ARGN} ${PROJECT_SOURCE_DIR}/cmake/embedded.cmake VERBATIM)
  target_sources(mr_${layer} PRIVATE ${output})
endfunction()

file(GLOB MR_APP_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/app/*.c)

# What a result file says about the program that wrote it. The commit is read at every build.
add_custom_target(mr_build_info
  COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${PROJECT_SOURCE_DIR}
    -DOUTPUT=${PROJECT_BINARY_DIR}/include/mr_build_info.h
    "-DBUILD_OPTIONS=${CMAKE_BUILD_TYPE} native=${MR_NATIVE} sanitize=${MR_SANITIZE} ${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}"
    -DVERSION=${PROJECT_VERSION} -P ${PROJECT_SOURCE_DIR}/cmake/build_info.cmake
  BYPRODUCTS ${PROJECT_BINARY_DIR}/include/mr_build_info.h)
