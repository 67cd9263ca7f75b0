# Writes the rows of an array of mr_embedded for a C source to include: of each of FILES its name
# without folder and ending, its bytes as numbers, and their count.
set(rows "")
foreach(path IN LISTS FILES)
  get_filename_component(name ${path} NAME_WE)
  file(SIZE ${path} size)
  file(READ ${path} bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
  string(APPEND rows "{\"${name}\", (const char[]){\n${bytes}}, ${size}},\n")
endforeach()
file(WRITE ${OUTPUT} "${rows}")
