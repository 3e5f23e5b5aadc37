//! Amounts as Stripe counts them, which for some currencies differs from ISO 4217.
//!
//! Source: <https://docs.stripe.com/currencies>, "Minor units in API amounts" and "Special cases".

/// Without minor units. ISO 4217 gives the ariary (MGA) two digits, Stripe none.
const ZERO_DECIMAL: [&str; 15] = [
    "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF",
    "XOF", "XPF",
];
/// Without minor units too, but Stripe counts them in hundredths, always whole ones.
const WHOLE_AS_TWO_DECIMAL: [&str; 2] = ["ISK", "UGX"];
/// Stripe takes only amounts whose last digit is 0.
const THREE_DECIMAL: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// Converts an amount in ISO 4217 minor units; `None` when Stripe cannot charge it exactly.
pub(super) fn to_stripe(amount: i64, currency: &str) -> Option<i64> {
    let iso = iso_currency::Currency::from_code(currency)?.exponent()?;
    let digits = if ZERO_DECIMAL.contains(&currency) {
        0
    } else if WHOLE_AS_TWO_DECIMAL.contains(&currency) {
        2
    } else {
        iso
    };
    let converted = if digits >= iso {
        amount.checked_mul(power(digits - iso)?)?
    } else {
        let unit = power(iso - digits)?;
        (amount % unit == 0).then_some(amount / unit)?
    };
    let is_whole = !THREE_DECIMAL.contains(&currency) || converted % 10 == 0;
    is_whole.then_some(converted)
}

fn power(digits: u16) -> Option<i64> {
    10_i64.checked_pow(digits.into())
}

#[cfg(test)]
mod tests {
    use iso_currency::Currency;

    use super::*;

    /// Stripe's list of zero-decimal currencies, as documented.
    const DOCUMENTED_ZERO_DECIMAL: &str =
        "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF";
    /// Stripe's two-decimal currencies, as documented: its presentment currencies without the
    /// zero-decimal and the three-decimal ones.
    const DOCUMENTED_TWO_DECIMAL: &str = "USD AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT \
        BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY COP CRC CVE CZK DKK DOP DZD EGP ETB EUR FJD \
        FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD KES KGS KHR KYD KZT LAK LBP \
        LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN \
        PGK PHP PKR PLN QAR RON RSD SAR SBD SCR SEK SGD SHP SOS SRD STD SZL THB TJS TOP TRY TTD TWD \
        TZS UAH UYU UZS WST XCD YER ZAR ZMW";

    /// `major` whole units of the currency, in ISO 4217 minor units.
    fn iso(major: i64, currency: &str) -> i64 {
        let digits = Currency::from_code(currency).unwrap().exponent().unwrap();
        major * 10_i64.pow(digits.into())
    }

    #[test]
    fn whole_units_are_counted_as_documented() {
        for currency in DOCUMENTED_ZERO_DECIMAL.split_whitespace() {
            // A special case: to charge 5 UGX, provide an amount of 500.
            let expected = if currency == "UGX" { 500 } else { 5 };
            let amount = to_stripe(iso(5, currency), currency);
            assert_eq!(amount, Some(expected), "{currency}");
        }
        for currency in DOCUMENTED_TWO_DECIMAL.split_whitespace() {
            if Currency::from_code(currency).is_none() {
                // Replaced in ISO 4217, so no product can have it.
                assert!(["ANG", "STD"].contains(&currency), "{currency}");
                continue;
            }
            let amount = to_stripe(iso(10, currency), currency);
            assert_eq!(amount, Some(1_000), "{currency}");
        }
        for currency in THREE_DECIMAL {
            assert_eq!(to_stripe(5_120, currency), Some(5_120), "{currency}");
            assert_eq!(to_stripe(5_124, currency), None, "{currency}");
        }
    }

    #[test]
    fn an_amount_that_cannot_be_charged_exactly_is_refused() {
        assert_eq!(to_stripe(1_999, "EUR"), Some(1_999));
        assert_eq!(to_stripe(500, "ISK"), Some(50_000));
        assert_eq!(to_stripe(500, "UGX"), Some(50_000));
        assert_eq!(to_stripe(1_999, "MGA"), None);
        assert_eq!(to_stripe(2_000, "MGA"), Some(20));
        assert_eq!(to_stripe(i64::MAX, "ISK"), None);
        assert_eq!(to_stripe(1, "XXX"), None);
        assert_eq!(to_stripe(1, "euro"), None);
    }
}
