"""A report as a page: what verification measured, drawn; one HTML file that loads nothing.

`report_file.ReportFile` serves a command: it is made before the work, hears what verification sees, and writes the
page. `gather` turns what is known into a `page.ReportPage`, in which everything is said already; `render` draws that
with the templates beside it.
"""
