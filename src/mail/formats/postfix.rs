//! The reasons that Postfix gives in its log, in DSN text and in `X-Postfix` diagnostic codes.
