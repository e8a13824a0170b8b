//! Views on a trace: ranked heads, gradient factors, summaries.
