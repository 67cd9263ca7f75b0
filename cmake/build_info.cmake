# Writes mr_build_info.h; touched only when its content changes, so nothing is rebuilt for nothing.
execute_process(COMMAND git -C ${SOURCE_DIR} describe --always --dirty --abbrev=12
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(commit "unknown")
endif()
set(text "#define MR_BUILD_COMMIT \"${commit}\"\n#define MR_BUILD_OPTIONS \"${BUILD_OPTIONS}\"\n#define MR_BUILD_VERSION \"${VERSION}\"\n")
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "${text}" @ONLY)
