"""DuckDB's functions that no table lists, each with the reason and what to write instead.

A test compares this table and the others with what DuckDB itself lists: what is in none of them fails it.
"""

from __future__ import annotations

_BATCH = "compute it in batch"
GROUPS: tuple[tuple[str, str, str], ...] = (
    # reason, remedy, names
    ("both engines estimate, each in its own way", "use the exact aggregate",
     "approx_top_k list_approx_count_distinct"),
    ("it samples by chance", "use quantile_disc", "reservoir_quantile"),
    ("its last digits decide between a number, NULL and an error, and depend on the order of the rows",
     "compute it from sum(x), sum(x * x) … and count(x)",
     "kurtosis kurtosis_pop skewness list_kurtosis list_kurtosis_pop list_skewness"),
    ("of no values it is NULL, and ClickHouse has no NULL map", "count per value: SELECT x, count(*) … GROUP BY x",
     "histogram histogram_exact list_histogram equi_width_bins is_histogram_other_bin"),
    ("of equally frequent values it picks any", "count per value and number the counts", "list_mode"),
    ("entropy of a list has no exact form", "unnest the list and aggregate", "list_entropy"),
    ("it also looks at rows without an order", "use arg_max or arg_max_null",
     "arg_max_nulls_last arg_min_nulls_last"),
    ("it checks no overflow", "write sum(x)", "sum_no_overflow"),
    ("it gives bits, which ClickHouse has no type for", "keep an integer, and use & | ^ ~",
     "bitstring bitstring_agg bitstring_byte_comparable bit_position get_bit set_bit"),
    ("it is a chart's downsampling", _BATCH, "lttb"),
    ("aggregate states of DuckDB can't be kept elsewhere", "keep the aggregate's parts: sum(x), count(x)",
     "combine combine_aggr finalize to_aggregate_state decimal_average"),
    # -- numbers
    ("ClickHouse's differs in more than the last bit", "write it with exp(x) and ln(x)",
     "sinh cosh tanh asinh acosh atanh cot"),
    ("ClickHouse has no exact form of it", "compute it in batch, or from + - * and CASE",
     "gamma lgamma factorial even nextafter binom decimal_division greatest_common_divisor least_common_multiple "
     "signbit round_even to_base bin"),
    # -- text
    ("ClickHouse counts code points, DuckDB what a reader sees as letters", "use length, left, right or substr",
     "left_grapheme right_grapheme length_grapheme substring_grapheme"),
    ("it works on bytes", "use length(x), or hex(x)", "bit_length octet_length encode decode from_base64 to_base64 "
     "unbin unhex"),
    ("ClickHouse computes another similarity", "compare by =, or by levenshtein",
     "damerau_levenshtein hamming jaccard jaro_similarity jaro_winkler_similarity"),
    ("Unicode's tables differ between both engines", "use replace or translate", "strip_accents nfc_normalize"),
    ("ClickHouse encodes other characters", _BATCH, "url_encode url_decode"),
    ("it is an operator's own name", "write the operator: LIKE, ILIKE, =",
     "like_escape not_like_escape ilike_escape not_ilike_escape"),
    ("it takes text apart in DuckDB's way", "use split_part, regexp_extract or substr",
     "overlay parse_dirname parse_dirpath parse_filename parse_formatted_bytes parse_path path_join regexp_escape "
     "regexp_extract_all string_split_regex regexp_split_to_table hive_partition_component parse_duckdb_log_message"),
    ("it writes numbers for readers", "format it in the application",
     "bar format_bytes formatreadablesize formatreadabledecimalsize pg_size_pretty array_to_string_comma_default"),
    ("its 128-bit number differs", "use md5(x)", "md5_number md5_number_lower md5_number_upper"),
    # -- time
    ("it gives an INTERVAL of a column, of which ClickHouse has no form", "write x + INTERVAL (n) DAY",
     "to_centuries to_decades to_millennia normalized_interval"),
    ("the part has no exact form", "compute it from extract(year …), epoch_us(x) or epoch(x)",
     "era millennium nanosecond julian timezone_hour timezone_minute timetz_byte_comparable"),
    ("it makes a type of time that has no literal in ClickHouse", "use make_timestamp or make_date",
     "make_time make_timestamptz make_timestamp_ms make_timestamp_ns"),
    ("it depends on when the query runs", "use {{ as_of() }} in a lambda; in a model compare columns", "ago"),
    # -- lists, structs, maps
    ("of these lists it has no exact form", "use list_transform and list_filter, or unnest",
     "array_pop_back flatten list_grade_up list_intersect list_reduce list_resize list_select "
     "list_where list_zip unpivot_list"),
    ("a series is rows, not a list, in ClickHouse", "read it in FROM, or under unnest",
     "range generate_series generate_subscripts"),
    ("arrays of a fixed size have no exact form", "use a list, and l[1]", "array_extract array_value"),
    ("the last digits depend on the machine", "declare the vector FLOAT[n], and write array_… of it in DOUBLE",
     "array_cross_product list_cosine_distance list_cosine_similarity list_distance list_inner_product "
     "list_negative_inner_product"),
    ("a missing key is NULL in DuckDB and 0 or '' in ClickHouse's maps", "keep a JSON text, and read it with ->>",
     "map cardinality map_concat map_contains map_contains_entry map_entries map_extract map_extract_value "
     "map_from_entries map_keys map_values"),
    ("this form of a struct has none in ClickHouse", "write {'a': x}, and s.a",
     "row struct_concat struct_contains struct_extract_at struct_insert struct_keys "
     "struct_position struct_update struct_values remap_struct"),
    ("ClickHouse has no such type", "keep one column per kind of value", "union_extract union_tag union_value"),
    ("an enumeration is text in ClickHouse", "compare texts",
     "enum_code enum_first enum_last enum_range enum_range_boundary"),
    # -- JSON
    ("ClickHouse writes JSON otherwise", "read single values with ->> '$.key'",
     "array_to_json from_json from_json_strict json json_array json_contains json_copy_strftime_if_date "
     "json_copy_strftime_if_timestamp json_deep_merge json_exists json_group_array json_group_object "
     "json_group_structure json_insert json_keys json_merge_patch json_merge_patch_diff json_normalize json_object "
     "json_pretty json_quote json_remove json_replace json_set json_strip_nulls json_structure json_transform "
     "json_transform_strict json_type json_value row_to_json to_json json_serialize_sql json_deserialize_sql "
     "json_serialize_plan"),
    # -- what is about DuckDB itself
    ("it is about the running DuckDB", "drop it, or keep a constant",
     "alias can_cast_implicitly cast_to_type col_description constant_or_null create_sort_key "
     "current_connection_id current_catalog current_database current_localtime current_query current_query_id "
     "current_role current_schema current_schemas current_setting current_transaction_id current_user format_pg_type "
     "format_type get_block_size get_type getvariable icu_sort_key in_search_path index_key invoke make_type "
     "map_to_pg_oid obj_description replace_type session_user shobj_description sleep_ms stats txid_current typeof "
     "user vector_type version write_log"),
    ("a sequence has a state", "number rows with row_number()", "currval nextval setval"),
    ("it depends on chance", "keep a value that comes with the row", "setseed uuidv4 uuidv7"),
    ("it raises an error by design", "write a data test", "error assert_true"),
    ("its arguments are branches that DuckDB evaluates", "write CASE", "switch"),
    ("it looks into a UUID", _BATCH, "uuid_extract_timestamp uuid_extract_version"),
)  # fmt: skip
FAMILIES: tuple[tuple[str, str, str], ...] = (
    # the names begin so
    ("collate_", "ClickHouse compares text by its bytes", "compare lower(x)"),
    ("icu_collate_", "ClickHouse compares text by its bytes", "compare lower(x)"),
    ("variant_", "ClickHouse has no such type", "keep JSON or one column per kind of value"),
    ("st_", "ClickHouse has no GEOMETRY of DuckDB's kind", "keep longitude and latitude as numbers"),
    ("vertex_", "ClickHouse has no GEOMETRY of DuckDB's kind", "keep longitude and latitude as numbers"),
    ("pg_", "it is about the running DuckDB", "drop it, or keep a constant"),
    ("has_", "it is about the running DuckDB", "drop it, or keep a constant"),
    ("inet_", "it is about the running DuckDB", "drop it, or keep a constant"),
    ("__", "it is internal to DuckDB", "write the operator"),
)


class LeftOut(dict[str, tuple[str, str]]):
    """Reason and remedy by DuckDB's name in lower case; whole families by the beginning of their names."""

    def get(self, name: str, default: tuple[str, str] | None = None) -> tuple[str, str] | None:  # type: ignore[override]
        """The reason and the remedy for ``name``; ``default`` where it is not listed."""
        if name in self:
            return self[name]
        return next(((reason, remedy) for start, reason, remedy in FAMILIES if name.startswith(start)), default)


LEFT_OUT = LeftOut((name, (reason, remedy)) for reason, remedy, names in GROUPS for name in names.split())
