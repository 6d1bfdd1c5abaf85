//! The catalogue: each way to fail, what is right, the tests that prove it, or why none does;
//! `docs/failure-modes.md` is made from it.

use std::path::Path;

/// `id | what happens | what is right | tests | note`. A test is `file::function`, below `tests/it`
/// unless it begins with `src`; `+` before it means that it needs the real servers or Azurite.
/// Without a test, the note says why.
const TABLE: &str = r"
N1 | data ends early, the server says 226 | asked for the rest; else a named failure, nothing
    visible | modes/network::n01_data_ends_early_and_the_server_calls_it_complete
    world/reading::a_server_that_always_ends_early_is_never_believed |
N2 | data ends early with 426 | tried again; else a named failure |
    modes/network::n02_data_ends_early_with_426 |
N3 | data connection is reset | tried again; else a named failure |
    modes/network::n03_data_connection_is_reset |
N4 | control connection dies during a transfer | new login, the rest of the file |
    modes/network::n04_control_connection_dies_during_a_transfer |
N5 | data stops coming | stall timeout, tried again, then a named failure |
    modes/network::n05_data_stops_coming world/reading::a_stall_is_tried_again_and_told_if_it_stays
    |
N6 | 150, then no data at all | as N5 | modes/network::n06_a_transfer_begins_and_no_data_comes |
N7 | all data, the closing reply never comes | taken if the size holds; that connection is dropped |
    modes/network::n07_all_data_and_no_closing_reply |
N8 | the closing reply is late | waited for | modes/network::n08_the_closing_reply_is_late |
N9 | a slow drip | no stall; other files go on |
    modes/network::n09_a_slow_drip_is_not_a_stall_and_starves_nobody |
N10 | passive ports are closed | the other passive command; else told, with the firewall as likely
    cause | modes/network::n10_passive_ports_are_closed
    modes/network::n10_servers_and_firewalls_that_want_to_see_one_command_at_a_time |
N11 | control port refused | that source fails, others go on |
    modes/network::n11_nobody_at_the_control_port_and_other_sources_go_on |
N12 | nobody answers at all | connect timeout | modes/network::n12_nobody_answers_at_all |
N13 | the other end is gone without a word | as N5 |
    modes/network::n13_the_other_end_is_gone_without_a_word
    modes/network::n13_a_server_that_takes_connections_and_says_nothing |
N14 | far and lossy lines | slower, complete |
    modes/network::n14_a_line_that_is_far_and_one_that_is_thin
    modes/network::n14_a_file_costs_two_questions_over_a_far_line | distance and thinness are
    played; loss of packets is not, which TCP hides
N15 | the name has no address, or the first of several is dead | class dns; every address is tried |
    src/source/ftp/tests/faults::nobody_at_the_port_and_no_such_host
    src/source/ftp/tests/faults::of_several_addresses_a_dead_one_is_passed_over
    src/source/sftp/transport::of_several_addresses_a_dead_one_is_passed_over |
N16 | IPv6 only | EPSV, never PASV | src/source/ftp/tests/dialects::ipv6_without_pasv |
N17 | idle sessions are closed by the server | a new login, no file fails |
    modes/network::n17_idle_sessions_are_closed_by_the_server
    world/logins::logins_that_the_server_ends_between_files_are_replaced |
N18 | a closing reply comes twice | noticed, connection dropped |
    modes/network::n18_a_closing_reply_comes_twice |
N19 | a reply without end | capped | modes/network::n19_a_reply_without_end
    src/source/ftp/tests/faults::a_reply_that_never_ends |
N20 | a byte now and then, for ever | below `minimum_rate`, tried again, then a named failure |
    modes/lies::n20_a_byte_now_and_then
    src/source/pace::a_byte_each_three_seconds_ends_after_five_minutes_and_a_slow_line_does_not |
N21 | a listing that drips | as N20 | modes/lies::n21_a_listing_that_drips |
N22 | lines without entries, folders without end | ended by a limit, told; bounded memory |
    modes/lies::n22_lines_that_tell_nothing_without_end
    src/source/folders::folders_without_end_take_no_more_than_their_room
    src/source/sifted::a_folder_without_end_is_remembered_as_far_as_there_is_room |
F1 | a greeting of many lines | logs in | modes/ftp::f01_a_greeting_of_many_lines |
F2 | 421: too many connections | those that are there do the work; a full server is asked again |
    modes/ftp::f02_too_many_connections
    src/source/login_backoff::places_rest_longer_each_time_and_come_back_one_by_one
    modes/politeness::a_server_without_room_has_a_rest_and_is_then_asked_for_one_more_at_a_time
    modes/politeness::a_530_for_too_many_is_no_refused_password |
F3 | 530: the login is refused | tried once, by later runs neither, until it changes |
    modes/ftp::f03_a_refused_login_is_tried_once_and_not_by_later_runs
    modes/ftp::f03_a_login_that_works_again_forgets_the_refusal |
F4 | 425: no data connection | tried again; else named |
    modes/ftp::f04_no_data_connection_can_be_opened |
F5 | 426: aborted; ASCII mode | tried again; bytes are never translated |
    modes/ftp::f05_a_transfer_is_aborted modes/ftp::f05_a_reply_of_ascii_mode_never_changes_bytes |
F6 | 450: busy for a while | tried again on the same login |
    modes/ftp::f06_a_file_is_busy_for_a_while |
F7 | 451, 452, 552, also after the data | tried again; a listing without its end is never ok |
    modes/ftp::f07_the_server_has_no_room_or_an_error_of_its_own |
F8 | 550: one file may not be read | that file alone, once a run |
    modes/ftp::f08_one_file_may_not_be_read |
F9 | Unix listings, no MLSD | read; exact times by MDTM, for new files only |
    modes/ftp::f09_unix_listings_without_mlsd |
F10 | DOS listings | read | modes/ftp::f10_dos_listings |
F11 | VMS, garbage | counted, degraded, never ok with no files |
    modes/ftp::f11_listings_that_nobody_can_read |
F12 | dates without year, 29 February, half a year, daylight saving | right year; nothing is fetched
    again when a listing forgets minutes |
    src/source/ftp/listing_unix::the_year_that_a_listing_leaves_out
    src/source/ftp/listing_unix::a_day_that_no_calendar_has_leaves_the_file_without_a_time
    src/rules/plan::six_months_later_the_listing_forgets_minutes_and_nothing_is_fetched_again
    src/rules/plan::when_daylight_saving_moves_a_listed_time_the_exact_one_is_asked_for
    world/changes::when_daylight_saving_moves_listed_times_nothing_is_downloaded_and_it_is_asked_once |
F13 | SIZE refused in ASCII mode | binary first | modes/ftp::f13_sizes_are_asked_for_in_binary_mode
    |
F14 | neither SIZE nor MDTM | listing's size and time; a cut is still seen |
    modes/ftp::f14_neither_size_nor_mdtm |
F15 | PASV names an address behind a NAT | the peer's address is used |
    modes/ftp::f15_passive_addresses_of_others |
F16 | PASV reply that means nothing | the other command; else named |
    modes/ftp::f16_passive_replies_that_mean_nothing |
F17 | EPSV is not known | PASV, remembered | modes/ftp::f17_epsv_is_not_known |
F18 | names in Latin-1, no UTF8 | byte for byte | modes/ftp_names::f18_latin_1_names_without_utf8 |
F19 | blanks at both ends of names | exact | modes/ftp_names::f19_blanks_at_both_ends_of_names |
F20 | line breaks in names | told as out of reach; never sent |
    modes/ftp_names::f20_line_breaks_in_names |
F21 | names like options and patterns, 255 bytes | exact |
    modes/ftp_names::f21_names_that_look_like_options_and_patterns |
F22 | dots, totals, links in listings | no files; links skipped and counted |
    modes/ftp_names::f22_dots_totals_and_links_in_listings |
F23 | names that differ in case only | all kept |
    modes/ftp_names::f23_names_that_differ_in_case_only |
F24 | TLS sessions must be taken up again; TLS 1.3 fails there | works; falls back to TLS 1.2 by
    itself | modes/ftp_names::f24_a_server_whose_data_connections_cannot_do_tls_1_3
    +e2e/whole_runs::from_vsftpd_that_wants_its_tls_sessions_again |
F25 | certificate expired, of another host, self-signed | refused before the password; authority or
    pin | modes/ftp_names::f25_a_certificate_that_is_another_one
    src/source/ftp/tests/encryption::certificates_that_are_not_good |
F26 | PROT P is refused | refused, no data in clear text |
    modes/ftp_names::f26_data_in_clear_text_is_refused |
F27 | no close_notify on encrypted data | the size decides |
    modes/ftp_names::f27_encrypted_data_without_close_notify |
F28 | AUTH TLS is stripped | refused, no user, no password |
    modes/ftp_names::f28_auth_tls_is_stripped |
F29 | clear text before the handshake | never believed |
    modes/ftp_names::f29_clear_text_before_the_handshake |
F30 | an entry is listed twice | counted once, told | modes/lies::f30_an_entry_that_is_listed_twice
    src/source/sifted::an_entry_counts_once_however_often_it_is_listed_and_every_line_counts |
F31 | MLSD does not tell what an entry is | tried out by CWD, never guessed |
    modes/lies::f31_a_name_without_a_kind
    src/source/ftp/mlsd::a_name_without_a_type_is_to_be_tried_out |
F32 | facts of MLSD with blanks in their values | the name is whole |
    modes/witnesses::f32_facts_with_blanks_in_their_values
    src/source/ftp/mlsd::values_of_facts_keep_blanks |
F33 | MLST tells of another file, or in another line | not believed, asked in another way |
    src/source/ftp/tests/witness::what_mlst_tells_of_another_file_is_not_believed
    src/source/ftp/tests/witness::mlst_is_read_in_its_first_line_and_behind_that_of_the_folder |
F34 | a reply too many among others, or one that nobody asked for | noticed before it is taken for
    another's, connection dropped |
    src/source/ftp/tests/witness::a_reply_too_many_spoils_the_answers_that_it_came_with
    src/source/ftp/tests/witness::a_reply_that_nobody_asked_for_ends_the_session
    |
F35 | the data of a file goes on without end | a little more than was promised is read; that file
    alone | wire_lies/found::a_file_whose_data_never_ends_is_not_read_for_ever |
S1 | unknown host key | refused before anything is sent; shown |
    modes/sftp::s01_a_host_key_that_nobody_vouched_for |
S2 | host key changed | refused, one look, alarm | modes/sftp::s02_a_host_key_that_has_changed
    src/source/sftp/host_key::a_changed_key_alarms |
S3 | MaxStartups | asked again; those that are there do the work |
    modes/sftp::s03_too_many_connections_for_sshd +e2e/rough::an_sshd_with_little_room
    +modes/politeness::an_sshd_that_takes_one_at_a_time |
S4 | MaxSessions | one channel carries many files | modes/sftp::s04_one_channel_serves_many_files
    +modes/politeness::an_sshd_that_takes_one_at_a_time |
S5 | READ gives fewer bytes | complete | modes/sftp::s05_short_reads |
S6 | READ fails at an offset, odd statuses | goes on from there; else named |
    modes/sftp::s06_a_read_fails_at_an_offset |
S7 | the connection ends, anywhere from the first byte on | new login; else named, and that file
    alone | modes/sftp::s07_a_connection_ends_at_an_offset
    modes/sftp::s07_a_file_that_always_ends_its_connection_takes_no_neighbour_with_it |
S8 | end of file too early | never believed | modes/sftp::s08_a_file_ends_early |
S9 | lies about sizes | never committed | modes/sftp::s09_sizes_that_are_lies |
S10 | neither size nor time | taken at the server's end of file |
    modes/sftp::s10_neither_size_nor_time |
S11 | STAT denied | taken or named | modes/sftp::s11_describing_is_denied |
S12 | OPEN denied, or gone | that file alone; listed still, it is deferred once |
    modes/sftp::s12_opening_is_denied |
S13 | a bit flips on the server | cannot be seen without a checksum of the server's | | no protocol
    here carries a checksum of the file; checksums beside files (`.sha256`) are not read
S14 | names that are not UTF-8 | exact | modes/sftp::s14_names_that_are_not_utf_8 |
S15 | line breaks and escapes in names | fetched; escaped in every output |
    modes/sftp::s15_names_that_would_write_on_your_terminal |
S16 | links in circles or to nowhere | skipped and counted |
    modes/sftp_trees::s16_links_that_lead_in_circles_or_nowhere |
S17 | a folder and a file are listed, and not there when they are asked for | a problem of the
    listing, the file waits once; only a fresh listing says gone |
    modes/sftp_trees::s17_a_folder_and_a_file_are_listed_and_not_there |
S18 | very many files in a folder | listed; memory grows with their number only |
    modes/sftp_trees::s18_a_folder_of_very_many_files +e2e/rough::a_folder_with_very_many_files
    modes/load::a_hundred_thousand_entries_by_ftp modes/load::a_hundred_thousand_entries_by_sftp |
S19 | a file grows while it is read | not committed, next run |
    modes/sftp_trees::s19_a_file_grows_while_it_is_read |
S20 | a file is replaced while it is read | not committed, next run |
    modes/sftp_trees::s20_a_file_is_replaced_while_it_is_read |
S21 | a file is cut short while it is read | not committed, next run |
    modes/sftp_trees::s21_a_file_is_cut_short_while_it_is_read |
S22 | names that say unfinished | skipped, said so |
    modes/sftp_trees::s22_files_that_are_still_being_written |
S23 | old algorithms only | refused with the list; `legacy_algorithms` |
    modes/legacy::s23_old_algorithms_only +modes/legacy::s23_an_sshd_with_old_algorithms_only |
S24 | Terrapin | strict key exchange where offered; a packet slipped in ends the connection |
    modes/legacy::s24_a_packet_slipped_into_the_key_exchange |
S25 | keyboard-interactive, two steps | works | modes/sftp_trees::s25_a_question_for_the_password
    src/source/sftp/tests/logging_in::two_steps_are_taken_in_the_servers_order |
S26 | keys in every form that people paste | read, or a clear error; never shown |
    modes/sftp_trees::s26_keys_in_the_forms_that_people_paste
    src/source/sftp/private_key::keys_survive_what_environment_variables_do_to_them |
S27 | packets that are too long, cut, lying | an error, no memory |
    src/source/sftp/tests/hostile::broken_answers_are_errors_never_hangs
    src/source/sftp/packet/tests::a_claimed_count_or_length_takes_no_memory
    modes/sftp::s27_a_listing_that_is_slow_or_silent |
S28 | entries with slashes, dots, NUL | refused and counted |
    modes/sftp_trees::s28_entries_that_would_lead_elsewhere |
S29 | where a login starts | `~` is asked for | modes/sftp_trees::s29_where_a_login_starts |
S30 | one handle for two open files | never another file's bytes; one file at a time from then on,
    told | modes/lies::s30_one_handle_for_two_files
    src/source/sftp/tests/lies::no_file_gets_the_bytes_of_another_when_a_server_gives_one_handle_to_two src/source/sftp/tests/hostile::a_handle_that_comes_back_while_its_former_file_is_being_read_ends_the_channel src/source/sftp/handles::a_handle_is_free_again_when_it_is_closed_and_nothing_about_it_is_under_way |
S31 | pages and ends of a listing that make no whole | listed again, one question at a time; told |
    modes/lies::s31_pages_and_ends_that_make_no_whole
    src/source/sftp/tests/lies::whatever_a_server_makes_of_pages_and_ends_every_entry_is_told
    src/source/sftp/tests/lies::a_server_that_mixes_pages_is_asked_one_question_at_a_time_from_then_on |
S32 | a kind that is not told | tried out, never guessed | modes/lies::s32_a_kind_that_is_not_told
    src/source/sftp/tests/lies::a_kind_that_is_not_told_is_tried_out |
S33 | few files may be open at once | so many at a time; no wrong permission |
    modes/lies::s33_few_files_may_be_open
    src/source/sftp/tests/lies::a_server_that_lets_few_files_be_open_gets_them_one_after_the_other
    src/source/sftp/tests/lies::a_file_that_is_denied_is_denied_also_in_company_and_soon |
S34 | a read behind the end fails, is denied, is empty | the end, if all bytes came |
    modes/lies::s34_other_answers_than_the_end_behind_the_end
    src/source/sftp/tests/lies::whatever_is_said_behind_the_end_of_a_file_its_bytes_have_come |
S35 | `.` and `..` without end | ended; no listing, never an empty folder |
    modes/lies::s35_dots_without_end |
S36 | a folder is listed as a file | told, never stored as an empty file |
    modes/witnesses::s36_a_folder_that_is_listed_as_a_file
    world/witness::a_folder_that_is_listed_as_an_empty_file_is_told_and_not_stored
    world/witness::an_empty_file_that_goes_away_while_it_is_read_is_kept |
S37 | one handle for two open files, told late | no byte is believed before; who answers in order is
    not waited for |
    src/source/sftp/tests/late_opens::a_handle_told_late_to_be_another_files_brings_no_bytes
    src/source/sftp/tests/late_opens::a_late_answer_with_a_handle_of_its_own_costs_nothing_but_time
    src/source/sftp/tests/late_opens::an_answer_that_never_comes_leaves_the_file_unproven
    src/source/sftp/tests/late_opens::where_answers_come_in_order_nobody_waits
    wire_lies/found::a_handle_given_twice_and_told_late_swaps_no_file |
S38 | one handle for two open files, given before an earlier read is done, told in order | a file is
    whole once it is described behind every open that could have had its handle; read anew else |
    wire_lies/found::a_handle_given_twice_before_an_earlier_read_swaps_no_file |
S39 | answers to nobody, twice, with wrong numbers, of another kind, too long, short | nothing of
    another file, nothing in silence |
    wire_lies/mod::whatever_bytes_a_server_sends_nothing_is_lost_in_silence
    wire_lies/mutants::a_client_that_lacks_any_one_of_its_safeguards_is_noticed |
S40 | hangs once more requests wait than its queues hold | fewer wait at the next try; told in the
    log |
    src/source/sftp/tests/many_requests::a_server_that_hangs_with_many_requests_is_asked_for_fewer |
S41 | a host between, in whose connection nobody reads while requests are written | it is always
    read; too much of it ends the connection |
    src/source/sftp/tests/jump::a_download_through_a_host_between_goes_on_while_requests_are_written
    src/source/sftp/jump_stream::a_server_that_sends_more_than_was_asked_for_is_left |
A1 | bombs, overlapping members | stopped by what comes out |
    src/archive/zip/tests::bombs_are_stopped_while_they_unpack
    src/archive/zip/tests::members_that_share_bytes_are_refused
    world/archives::an_archive_over_a_limit_fails_with_its_limit_and_alone |
A2 | members that climb | escaped; the name is data |
    src/rules/naming::climbing_absolute_and_empty_member_names_arrive_escaped
    world/blobs::every_blob_has_its_md5_and_metadata_that_headers_can_carry |
A3 | cut, bad ends, junk | the whole archive fails, nothing visible |
    src/archive/zip/tests::a_zip_cut_anywhere_is_never_whole
    src/archive/zip/tests::bytes_after_the_end_are_fine_unless_they_are_more_of_a_zip
    world/archives::a_truncated_archive_fails_alone
    src/archive/zip/tests/natures::an_archive_behind_other_bytes_is_read |
A4 | a bad checksum in one member | nothing of the archive is visible |
    world/archives::a_corrupt_last_member_shows_nothing_of_the_archive |
A5 | encrypted | its own class | world/archives::an_encrypted_archive_says_so |
A6 | the same name twice | both kept | world/archives::twins_and_case_pairs_all_arrive |
A7 | the same name in two folders | both kept |
    world/names::by_type_files_of_one_name_in_two_folders_both_arrive_and_it_is_told
    world/names::by_type_members_and_files_of_one_name_all_arrive |
A8 | names that are not UTF-8 | decoded by what is known; bytes kept |
    src/archive/zip/names::names_are_decoded_by_what_is_known_of_them |
A9 | archives in archives | opened to a depth; deeper ones stay files |
    world/nested::members_of_inner_archives_arrive_under_the_way_to_them
    world/nested::the_deepest_archives_stay_files |
A10 | zip64, streamed, very many members | read |
    src/archive/zip/tests::a_member_beyond_32_bits_is_read
    world/bulk::an_archive_of_a_thousand_members_arrives
    world/bulk::the_last_of_seventy_thousand_members_arrives |
A11 | names that lie about their kind; documents | by content; documents stay whole |
    world/archives::an_archive_whose_name_says_otherwise_is_unpacked_by_its_content
    world/archives::an_office_document_stays_whole |
A12 | times that cannot be | unknown, never wrong |
    src/archive/zip/fields::a_time_that_cannot_be_is_unknown
    src/archive/zip/tests/natures::a_time_that_is_torn_does_not_lose_the_member |
A13 | empty archives, folders, links in archives | nothing to store is no failure; links are told |
    world/archives::an_empty_archive_is_ingested_without_blobs
    world/archives::a_link_in_an_archive_is_told_and_the_archive_stays_at_the_source |
A14 | no room for temporary files | its own class; others go on |
    world/archives::an_archive_for_which_there_is_no_room_fails_and_says_so
    src/archive/spool::giving_up_the_wait_gives_up_the_place |
A15 | killed between two members | the next run completes it, nothing twice | world/crash::archives
    +e2e/kills::an_archive_that_is_unpacked |
A16 | headers of a zip contradict each other | read where all readers get the same content, and
    told; a name that nothing proves degrades the run once; else refused |
    src/archive/zip/tests/contradictions::a_packed_size_that_only_one_header_can_mean_is_that
    src/archive/zip/tests/contradictions::a_member_that_its_own_header_calls_otherwise_has_the_name_that_readers_list src/archive/zip/tests::headers_that_disagree_are_refused world/doubts::a_zip_whose_headers_name_a_member_differently_arrives_and_degrades_the_run_once |
A17 | two ends of a zip, or two readings of one | the one that fits the file; none if both do |
    src/archive/zip/tests/contradictions::of_two_end_records_the_one_counts_that_fits_the_file
    src/archive/zip/tests/contradictions::a_zip_in_the_comment_of_a_zip_leaves_two_readings |
A18 | a directory counts other than it lists, also beyond 65,535 | all that it lists, told |
    src/archive/zip/tests/contradictions::a_directory_that_lists_other_than_it_counts_is_read_as_it_lists src/archive/zip/tests/contradictions::more_members_than_a_count_of_16_bits_holds_are_all_read |
A19 | a tar without its end mark | unpacked, degraded once, stays at the source |
    src/archive/tar/tests/end::a_tar_that_was_cut_between_two_members_is_never_whole_for_certain
    world/doubts::a_tar_without_its_end_mark_arrives_and_degrades_the_run_once_and_stays_at_the_source |
A20 | a tar that ends within content and with a record: a volume, or cut | stored whole, told,
    degraded once |
    src/archive/tar/tests/endings::a_tar_that_ends_within_content_and_with_a_record_may_be_a_volume
    world/doubts::a_tar_that_ends_with_a_record_is_kept_whole_and_degrades_the_run_once |
A21 | xz: blocks in another order, a wrong index or footer, padding | damaged; zeros in fours are
    padding | src/archive/xz/tests::blocks_in_another_order_are_damage_though_each_holds
    src/archive/xz/tests::an_index_that_is_wrong_is_damage
    src/archive/xz/tests::a_footer_that_is_wrong_is_damage
    src/archive/xz/tests::zeros_come_in_fours_between_streams_and_behind_them |
A22 | content in a member whose type says pipe, device, folder | a file |
    src/archive/zip/fields::bytes_are_never_called_a_directory
    src/archive/sevenz/tests::what_has_content_is_a_file_whatever_its_type |
A23 | hard links and files with holes in a tar | the bytes that they mean |
    src/archive/tar/tests::a_hard_link_has_the_content_of_its_file
    src/archive/tar/tests::sparse_files_are_the_bytes_that_they_mean |
A24 | bytes behind the end | stale ones are passed over, strange ones told, a further archive
    refused |
    src/archive/tar/tests/endings::what_follows_the_end_is_stale_strange_or_another_archive
    src/archive/zip/tests/contradictions::packed_bytes_that_nobody_needs_are_told |
A25 | archives that are not read, parts of split ones | kept, told by kind, counted; or fail |
    world/unread::archives_that_are_not_read_are_kept_told_and_counted
    world/unread::archives_that_are_not_read_can_fail
    world/unread::every_part_of_a_split_zip_is_kept_and_told
    src/archive/unread::a_program_with_an_archive_behind_it_is_told |
A26 | one bad archive in an archive | a member like others, degraded once |
    world/nested::a_broken_inner_archive_does_not_cost_the_parcel_and_degrades_the_run_once
    world/nested::inner_errors_can_be_no_more_than_a_note
    world/nested::a_broken_inner_archive_can_fail_the_outer_one_and_is_named |
A27 | a text that begins like an archive | a file, without a word |
    world/nested::what_only_begins_like_an_archive_is_a_file_without_a_word
    src/archive/zip/tests/natures::what_is_only_called_a_zip_is_a_file |
A28 | limits that ordinary data meets | high, named, per source; not fetched again until the limit
    is another one | src/archive/limits::a_ratio_is_looked_at_beyond_what_any_machine_has_room_for
    src/archive/limits::a_failure_names_the_setting
    world/unread::a_source_may_have_limits_of_its_own
    world/unread::a_large_archive_that_a_limit_refuses_is_not_fetched_again_until_the_limit_is_another_one |
A29 | methods of before 1993, deflate64 | read, in bounded memory |
    src/archive/zip/method/tests::methods_of_before_1993_are_read_and_proven
    fuzz/rare::every_rare_form_is_read |
Z1 | 503, 429 with Retry-After | waited as asked |
    +modes/azure::z01_a_busy_service_says_when_to_come_back
    store_contract/answers::a_busy_service_is_left_alone_as_long_as_it_asks
    world/store_faults::a_busy_store_is_asked_again_and_a_lost_answer_is_no_failure |
Z2 | the reply is lost after the effect | found done |
    +modes/azure::z02_a_reply_is_lost_after_the_effect
    world/store_faults::lost_answers_everywhere_in_an_archive_are_no_failure |
Z3 | the request is lost | sent again | +modes/azure::z03_a_request_is_lost
    world/store_faults::a_store_that_is_busy_four_times_is_asked_a_fifth |
Z4 | 409: a blob of somebody else | never touched |
    world/store_faults::a_blob_of_somebody_else_is_never_touched |
Z5 | 412: a second writer | state is read again | world/races::new_files world/races::replaced_files
    |
Z6 | two writers, one blob | one wins, both end well | world/races::archives_that_are_also_kept
    store_contract::memory_keeps_the_contract |
Z7 | a lease is lost | the run goes on, nothing doubled |
    world/leases::a_lease_that_is_lost_costs_work_only |
Z8 | 403 midway, no role, identity down | fails fast, nothing lost |
    +modes/azure::z08_a_credential_ends_midway
    world/store_faults::a_credential_without_the_right_to_write_fails_at_once_with_a_hint
    src/store/azure/failure::an_identity_endpoint_that_is_down_may_come_back
    +identity::an_identity_that_is_not_there_is_told_as_such_and_ends_the_run |
Z9 | clock skew | named | store_contract/answers::a_skewed_clock_is_named |
Z10 | no container | created if allowed, else one clear failure |
    world/store_faults::a_container_that_is_not_there_is_told_and_nothing_is_read
    +store_contract/azurite::a_missing_container_is_created_only_if_allowed |
Z11 | the container is being deleted | waited for |
    +modes/azure::z11_a_container_that_is_being_deleted
    store_contract/answers::a_busy_service_is_left_alone_as_long_as_it_asks |
Z12 | names that meet after mapping | never |
    src/rules/naming::every_name_is_legal_and_decodes_to_its_bytes |
Z13 | names over the limits | hash at the end, original kept |
    src/rules/naming::names_over_the_limits_end_in_a_hash_and_stay_apart
    world/blobs::names_of_any_bytes_and_any_length_arrive |
Z14 | accounts with folders (HNS) | | | needs an account with a hierarchical namespace; no emulator
    has one
Z15 | immutable blobs | that file fails, once | +modes/azure::z15_a_blob_that_may_not_be_changed |
Z16 | metadata that a header cannot carry | escaped, capped |
    src/store/limits::metadata_is_what_a_header_can_carry
    world/blobs::every_blob_has_its_md5_and_metadata_that_headers_can_carry |
Z17 | blocks that were never committed | invisible | +e2e/kills::a_large_upload
    world/crash::a_file_in_blocks |
Z18 | limits of blocks and appends | blocks grow with the file; a journal ends before its last
    append | src/transfer/upload::no_blob_needs_more_blocks_than_azure_allows
    src/ledger/journal::a_journal_is_followed_by_the_next_long_before_its_last_append |
Z19 | the storage firewall | what to check is said |
    src/store/azure/failure::a_refusal_says_what_to_check |
Z20 | replies cut, of a proxy, redirects | no success; tried again |
    +modes/azure::z20_replies_that_are_not_the_services
    store_contract/answers::what_is_not_from_storage_is_no_success_and_no_end |
Z21 | bytes change on the way | refused by checksum, sent again |
    +modes/azure::z21_bytes_that_change_on_their_way_to_the_service
    store_contract/answers::another_md5_than_ours_is_corruption
    world/store_faults::bytes_that_arrive_corrupted_are_sent_again |
Z22 | Application Insights is down | told once; no run changes |
    insights/trouble::an_endpoint_in_trouble_is_told_once_and_changes_no_run
    insights/trouble::an_endpoint_that_refuses_connections_changes_no_run |
R1 | SIGTERM during a run | ends within 10 s with its report; what was stored is recorded |
    modes/stopping::while_an_ftp_server_is_silent_in_the_middle_of_a_file
    modes/stopping::while_an_sftp_server_is_silent_in_the_middle_of_a_file
    modes/stopping::while_a_server_is_silent_before_its_listing
    +modes/stopping::while_an_upload_to_azure_hangs
    +e2e/commands::sigterm_ends_a_run_with_its_report
    +e2e/commands::sigterm_does_not_wait_for_a_server_that_is_silent |
R2 | killed at any step | the next run completes, nothing lost, nothing twice |
    world/crash::plain_files world/crash::a_replaced_archive +e2e/kills::a_large_upload |
R3 | the host's time limit | an end of our own before it |
    handler/process::a_slow_server_ends_the_run_before_the_host_would |
R4 | timer and request at once | one run |
    handler/answers::of_many_requests_at_once_one_starts_a_run
    handler/answers::a_long_run_is_left_with_202_and_joined_by_others |
R5 | two processes, one ledger | safe |
    world/ledger::two_runs_at_once_store_everything_once_and_neither_fails
    store_contract/folder::two_processes_cannot_both_create
    +e2e/rough::two_runs_at_once_store_everything_once |
R6 | the host asks again | joined |
    handler/answers::a_long_run_is_left_with_202_and_joined_by_others
    handler/process::a_host_that_hangs_up_and_asks_again_joins_its_run |
R7 | past due, missed schedules | one run |
    handler/answers::every_form_of_a_timers_payload_starts_a_run |
R8 | our clock is wrong | ages by the server's own newest file |
    src/rules/plan::a_file_that_rested_by_the_servers_own_newest_file_is_settled |
R9 | little memory | bounded | world/bulk::eight_large_files_at_once_finish_in_little_memory
    world/bulk::archives_of_large_members_finish_in_little_memory modes/runtime::r09_little_memory |
R10 | no temporary space | as A14 | src/archive/spool::a_folder_that_is_not_there_is_a_lack_of_room
    world/archives::an_archive_for_which_there_is_no_room_fails_and_says_so |
R11 | few file handles | fails by name, no crash | modes/runtime::r11_few_file_handles |
R12 | a panic in one worker | that file; the run goes on |
    world/reading::a_panic_in_a_driver_costs_one_file
    world/listing::a_panic_while_a_folder_is_listed_costs_that_folder
    src/runtime/parallel::a_panic_costs_one_item_only |
R13 | the handler's port is missing or none | a clear end |
    handler/process::a_port_that_is_none_is_told |
R14 | nobody reads our output | the run goes on |
    e2e/commands::a_reader_that_goes_away_is_no_failure
    e2e/commands::a_reader_that_does_not_read_holds_nothing_up
    src/telemetry/lines::one_who_does_not_read_stops_nobody_and_what_is_lost_is_counted |
R15 | one dead source of many | does not hold up the others |
    modes/runtime::r15_dead_sources_among_healthy_ones
    modes/load::dead_sources_hold_up_no_healthy_one
    modes/politeness::a_server_that_stays_dead_is_given_up_and_others_go_on |
R16 | a frozen process keeps the locks of a folder | told with its name after seconds; nobody hangs
    | modes/lies::r16_a_frozen_process_keeps_the_locks_of_a_folder
    src/store/folder/locks::a_lock_that_is_never_let_go_is_told_with_its_holder_and_then_soon |
R17 | who may read state and logs | owner and group | modes/lies::r17_who_may_read_state_and_logs |
R18 | the disk of the log files is full | told once on the console; the run goes on |
    modes/witnesses::r18_a_log_disk_that_is_full |
R19 | a clock that was ahead wrote down a refused login | it counts no more |
    modes/witnesses::r19_a_clock_that_was_ahead_when_a_login_was_refused |
R20 | state is removed, shortened or changed | `audit` tells of each fact |
    world/audit/facts::whichever_fact_is_removed_shortened_or_changed_is_missed
    world/audit/folded::whichever_fact_of_a_folded_ledger_is_removed_cut_or_changed_is_missed
    world/audit/facts::a_run_of_which_report_and_manifest_are_gone_is_missed
    world/audit/facts::a_source_of_which_all_state_is_gone_is_missed
    world/audit/facts::two_blobs_that_were_swapped_are_told
    world/audit/facts::a_blob_that_nothing_claims_is_told_unless_its_run_was_killed
    src/state/sum::every_bit_of_a_sealed_object_is_guarded |
R21 | runs that overlap or die, state that retention puts away, state of earlier releases | marked,
    no finding | world/audit/facts::two_runs_that_overlap_leave_nothing_to_be_told
    world/audit/facts::what_retention_cut_off_is_marked_and_no_violation
    src/audit/facts::a_report_without_the_record_of_its_run_is_told_from_a_run_that_was_killed |
R22 | the disk of the state is full, broken or closed | told as the place that `[state]` names |
    src/store/folder/fault::a_full_disk_of_the_state_is_not_taken_for_the_destinations |
R23 | a destination whose locks other machines do not see | lock files, for everybody |
    src/store/folder/locks::a_folder_whose_locks_are_files_is_that_for_everybody
    src/store/folder/locks::a_file_system_without_locks_gets_lock_files
    src/store/folder/lock_files::a_lock_file_of_another_machine_is_broken_once_it_is_silent
    src/store/folder/lock_files::a_lock_file_of_a_killed_process_is_broken_at_once
    src/runtime/mounts::mounts_whose_locks_hold_on_one_machine_are_known |
R24 | a destination that is unmounted in mid-run | nothing is made below the mount point |
    src/store/folder/record/tests::below_a_mount_point_without_its_mount_no_folder_is_made |
R25 | names that the file system of a destination cannot hold | escaped, one-to-one |
    src/store/folder/paths::characters_that_a_file_system_cannot_hold_are_escaped_where_that_is_so
    src/store/folder/characters::a_copy_of_such_a_destination_keeps_its_names |
C1 | broken TOML | file, line, exit 2 | modes/config::c01_broken_toml_is_told_by_line_and_column
    src/config/tests::broken_toml_is_told_by_line_and_column_without_its_text |
C2 | typos | what was meant | modes/config::c02_typos_are_answered_with_what_was_meant |
C3 | passwords of any characters in URLs | encoded, or a field; ambiguous is refused |
    modes/config::c03_passwords_of_any_characters_in_urls |
C4 | secrets that are not there | the variable's name, never a value |
    modes/config::c04_secrets_that_are_not_there |
C5 | two sources, one prefix | cannot be: the prefix is the name |
    src/config/tests::two_sources_cannot_share_a_name
    world/names::three_sources_of_one_server_meet_by_type_and_all_arrive |
C6 | two sources of one name | refused | modes/config::c06_sources_of_one_name |
C7 | patterns that mean nothing or cost much | refused; linear |
    modes/config::c07_patterns_that_mean_nothing |
C8 | numbers and units out of range | refused with what is allowed |
    modes/config::c08_numbers_and_units_out_of_range |
C9 | byte order marks, CR LF, UTF-16 | read, or a clear error |
    modes/config::c09_what_editors_do_to_files |
C10 | changed during a run | the run goes on with what it began with |
    modes/config::c10_a_configuration_that_changes_during_a_run |
X1 | secrets in any output | none | modes/security::x01_a_server_that_repeats_the_password
    src/model/redactor::every_spelling_of_a_secret_is_taken_out
    +e2e/secrets::runs_that_succeed_are_silent |
X2 | names that climb | touch nothing outside | modes/security::x02_names_that_climb
    src/store/folder/paths::every_name_comes_back_from_its_path |
X3 | requests that name hosts | only configured sources |
    src/handler/api::a_request_names_configured_sources_and_nothing_else
    handler/answers::what_a_request_may_not_ask_is_refused |
X4 | a server that sends us elsewhere | nobody goes |
    modes/security::x04_a_server_that_sends_us_elsewhere |
X5 | who may call the handler | callers with a key, by the host alone |
    modes/security::x05_who_may_call_the_handler |
X6 | bodies that are too large or deep | refused | src/handler/envelope::no_payload_panics
    handler/answers::what_is_no_payload_is_refused_with_a_reason |
X7 | names and replies that would write log lines | escaped |
    modes/security::x07_replies_that_would_write_log_lines src/model/mod::no_name_breaks_a_line |
X8 | line breaks that would become commands | refused before they are sent |
    modes/security::x08_line_breaks_in_settings_never_become_commands |
X9 | TLS without verification | cannot be set |
    src/source/ftp/tests/encryption::certificates_that_are_not_good
    modes/ftp_names::f25_a_certificate_that_is_another_one |
X10 | weak algorithms, unknown hosts | refused | modes/sftp::s01_a_host_key_that_nobody_vouched_for
    src/source/sftp/host_key::an_unknown_key_is_shown_with_what_to_paste
    modes/legacy::s23_old_algorithms_only |
X11 | patterns against long names | linear | modes/config::c07_patterns_that_mean_nothing |
X12 | listings and trees without end | capped | modes/security::x12_listings_and_trees_without_end
    world/listing::a_deep_tree_arrives_and_one_that_is_too_deep_says_so
    world/listing::a_listing_without_end_is_ended_and_the_report_says_so
    world/listing::more_files_than_fit_into_a_run_come_with_the_next_ones |
X13 | hostile input to parsers | no panic | src/source/ftp/lines::no_bytes_break_the_parser
    src/source/sftp/packet/tests::no_bytes_panic src/archive/zip/tests/natures::no_bytes_are_too_odd
    |
X14 | libraries with known faults | | | `cargo deny check` in CI, not a test
X15 | users and hosts in metadata | none | world/blobs::a_blob_tells_where_it_comes_from |
X16 | who may read runs | callers with a key | modes/security::x16_who_may_read_runs |
";

struct Row {
    cells: Vec<&'static str>,
}

impl Row {
    fn id(&self) -> &'static str {
        self.cells[0]
    }

    /// Tests, and whether each needs servers.
    fn tests(&self) -> Vec<(&'static str, bool)> {
        self.cells[3]
            .split_whitespace()
            .map(|test| (test.trim_start_matches('+'), test.starts_with('+')))
            .collect()
    }

    fn result(&self) -> &'static str {
        let tests = self.tests();
        match (tests.is_empty(), tests.iter().all(|(_, servers)| *servers)) {
            (true, _) => "not proven",
            _ if !self.cells[4].is_empty() => "partly proven",
            (_, true) => "proven, with servers",
            _ => "proven",
        }
    }
}

fn rows() -> Vec<Row> {
    let row = |line: &'static str| Row { cells: line.split('|').map(str::trim).collect() };
    // A line that is set in goes on with the row before.
    let table: &str = TABLE.replace("\n    ", " ").leak();
    table.lines().filter(|line| !line.is_empty()).map(row).collect()
}

/// The file that a test's name points to, and the function in it.
fn place(test: &str) -> (String, String) {
    let (file, function) = test.split_once("::").expect("file::function");
    let file =
        if file.starts_with("src/") { format!("{file}.rs") } else { format!("tests/it/{file}.rs") };
    (file, function.to_owned())
}

fn document() -> String {
    let rows = rows();
    let count = |result: &str| rows.iter().filter(|row| row.result() == result).count();
    let mut text = format!(
        "# Servers and networks as they are\n\n{} ways to fail, each with the answer that is \
         right. {} are proven by tests that need nothing, {} more by tests that need real servers \
         or Azurite, {} in part, {} not; the last column says why.\n\nThe tests of \
         `tests/it/modes` run the program itself. Each run against a scripted server checks \
         besides: it ends within its tries times its longest time limit, the waits between, and 5 \
         s (mostly 9.5 s: two tries of 2 s); `listed = ingested + unchanged + skipped + gone + \
         deferred + failed`, nothing partial is in the folder that it stores to (in Azurite: sizes \
         only), no output holds the password, every log line is JSON without control bytes. What \
         rclone makes of the same servers: [matrix.md](matrix.md).\n\nMade from \
         `tests/it/modes/table.rs`; `UPDATE_DOCS=1 cargo test --test it modes::table` writes it \
         anew.\n\n| id | what happens | what is right | test | result |\n|---|---|---|---|---|\n",
        rows.len(),
        count("proven"),
        count("proven, with servers"),
        count("partly proven"),
        count("not proven"),
    );
    for row in &rows {
        let tests: Vec<String> = row
            .tests()
            .iter()
            .map(|(test, servers)| format!("`{test}`{}", if *servers { " (servers)" } else { "" }))
            .collect();
        let note =
            if row.cells[4].is_empty() { String::new() } else { format!(": {}", row.cells[4]) };
        text.push_str(&format!(
            "| {} | {} | {} | {} | {}{note} |\n",
            row.id(),
            row.cells[1],
            row.cells[2],
            tests.join("<br>"),
            row.result()
        ));
    }
    text
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_catalogue_is_complete() {
    let families =
        [('N', 22), ('F', 35), ('S', 41), ('A', 29), ('Z', 22), ('R', 25), ('C', 10), ('X', 16)];
    let all: Vec<String> = families
        .iter()
        .flat_map(|(family, most)| (1..=*most).map(move |n| format!("{family}{n}")))
        .collect();
    assert_eq!(all.len(), 200);
    assert_eq!(rows().iter().map(|row| row.id().to_owned()).collect::<Vec<_>>(), all);
    for row in rows() {
        assert_eq!(row.cells.len(), 5, "{}", row.id());
        assert!(
            !row.tests().is_empty() || !row.cells[4].is_empty(),
            "{}: neither a test nor a reason",
            row.id()
        );
    }
}

/// Whether `text` holds a test of this name: the function, and above it an attribute that makes it
/// a test.
fn holds_test(text: &str, function: &str) -> bool {
    let heads = [format!("fn {function}("), format!("fn {function}<")];
    let Some(at) = heads.iter().find_map(|head| text.find(head.as_str())) else { return false };
    let before = text[..at].trim_end_matches("async ").trim_end();
    let last: Vec<&str> =
        before.lines().rev().take_while(|line| line.trim().starts_with("#[")).collect();
    last.iter().any(|line| line.contains("test]") || line.contains("test("))
}

#[test]
fn every_test_of_the_table_is_one() {
    for row in rows() {
        for (test, _) in row.tests() {
            let (file, function) = place(test);
            let text = std::fs::read_to_string(root().join(&file))
                .unwrap_or_else(|error| panic!("{}: {file}: {error}", row.id()));
            assert!(
                holds_test(&text, &function),
                "{}: there is no test `{function}` in {file}",
                row.id()
            );
        }
    }
    assert!(
        !holds_test("fn helper() {}", "helper") && holds_test("#[test]\nfn it_is() {}", "it_is")
    );
}

/// The text of a test, from its name to the end of its body.
fn body<'a>(text: &'a str, function: &str) -> &'a str {
    let at = text.find(&format!("fn {function}")).expect("it was found before");
    let indent =
        text[..at].rsplit('\n').next().map_or(0, |line| line.len() - line.trim_start().len());
    let end = text[at..]
        .find(&format!("\n{}}}\n", " ".repeat(indent)))
        .map_or(text.len(), |end| at + end);
    &text[at..end]
}

/// Nobody reads that a test needs nothing when it returns early without its server.
#[test]
fn every_test_that_needs_servers_is_marked() {
    let starts = [
        "served::sshd",
        "served::vsftpd",
        "served::pure_ftpd",
        "served::proftpd",
        "Sshd::start",
        "Vsftpd::start",
        "Azurite::s",
    ];
    let mut marked = 0;
    for row in rows() {
        for (test, servers) in row.tests() {
            let (file, function) = place(test);
            let text = std::fs::read_to_string(root().join(&file))
                .expect("every test of the table is one");
            let needs = starts.iter().any(|start| body(&text, &function).contains(start));
            assert!(
                servers || !needs,
                "{}: `{test}` starts a server, but is not marked with `+`",
                row.id()
            );
            marked += usize::from(servers && needs);
        }
    }
    assert!(marked > 5, "the check sees nothing: {marked}");
}

/// A test that bears a number of the catalogue stands in its row.
#[test]
fn every_numbered_test_stands_in_the_table() {
    for file in [
        "azure",
        "config",
        "ftp",
        "ftp_names",
        "legacy",
        "lies",
        "network",
        "runtime",
        "security",
        "sftp",
        "sftp_trees",
    ] {
        let text = std::fs::read_to_string(root().join(format!("tests/it/modes/{file}.rs")))
            .expect("it is there");
        let tests = text
            .split("#[test]\nfn ")
            .skip(1)
            .filter_map(|rest| rest.split_once('('))
            .map(|(name, _)| name);
        for test in tests {
            let id: String = test.chars().take_while(|c| *c != '_').collect();
            let number: u32 =
                id[1..].parse().unwrap_or_else(|_| panic!("`{test}` bears no number"));
            let id = format!("{}{number}", id[..1].to_uppercase());
            let row = rows()
                .into_iter()
                .find(|row| row.id() == id)
                .unwrap_or_else(|| panic!("`{test}`: no such mode"));
            assert!(
                row.tests().iter().any(|(name, _)| *name == format!("modes/{file}::{test}")),
                "`{test}` is missing in the row {id}"
            );
        }
    }
}

#[test]
fn the_document_is_current() {
    let path = root().join("docs/failure-modes.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
        std::fs::write(&path, document()).expect("it can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == document(),
        "docs/failure-modes.md is not current: UPDATE_DOCS=1 cargo test --test it modes::table"
    );
    let rows = rows();
    let proven = rows
        .iter()
        .filter(|row| ["proven", "proven, with servers"].contains(&row.result()))
        .count();
    let told = format!(
        "| {} ways to fail | [the table](failure-modes.md): {proven} are proven by tests",
        rows.len()
    );
    let page = std::fs::read_to_string(root().join("docs/verification.md")).expect("it is there");
    assert!(page.contains(&told), "docs/verification.md has other numbers than `{told}`");
}
