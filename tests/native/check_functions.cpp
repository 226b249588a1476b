// The functions of csrc/math/functions.h against the C library's long double ones, in ULP, as the table there promises.
// tests/cpu/test_math.py is the denser sample; this one also runs where there is no Python.
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "check.h"
#include "problem.h"

namespace native {
namespace {

struct Function {
    const char* name;
    double ulp;
    long double (*exact)(long double);      // not finite: the argument is outside the range
    bool (*ends)(double high, double low);  // whether inf gives `high` and -inf `low`
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();
bool small(double value) { return value >= 0 && value < 1e-37; }

// In the order of Backend::evaluate.
const Function functions[] = {
    {"exp", 1.1, [](long double x) { return std::exp(x); },
     [](double high, double low) { return std::isfinite(high) && small(low); }},
    {"sigmoid", 2.1, [](long double x) { return 1 / (1 + std::exp(-x)); },
     [](double high, double low) { return high == 1 && small(low); }},
    {"tanh", 2.6, [](long double x) { return std::tanh(x); },
     [](double high, double low) { return high == 1 && low == -1; }},
    {"log_sigmoid", 2.0, [](long double x) { return std::fmin(x, 0.0L) - std::log1p(std::exp(-std::fabs(x))); },
     [](double high, double low) { return small(-high) && low == -kInfinity; }},
    {"expm1", 2.0, [](long double x) { return std::expm1(x); },
     [](double high, double low) { return std::isfinite(high) && low == -1; }},
    {"log", 1.0, [](long double x) { return std::log(x); },
     [](double high, double low) { return high == kInfinity && std::isnan(low); }},
    {"erf", 3.0, [](long double x) { return std::erf(x); },
     [](double high, double low) { return high == 1 && low == -1; }},
    {"sqrt", 0.51, [](long double x) { return std::sqrt(x); },
     [](double high, double low) { return high == kInfinity && std::isnan(low); }},
};
constexpr int function_count = static_cast<int>(std::size(functions));

// Evenly spaced, then evenly over the exponents on both sides of zero.
template <class T>
std::vector<T> sample(double limit) {
    constexpr int count = 5000;
    std::vector<T> x;
    for (int i = 0; i <= 2 * count; ++i) x.push_back(static_cast<T>(limit * (i - count) / count));
    const double tiny = 4.0 * static_cast<double>(std::numeric_limits<T>::min());
    for (int i = 0; i < count; ++i) {
        const double value = std::exp2(std::lerp(std::log2(tiny), std::log2(limit), static_cast<double>(i) / count));
        x.push_back(static_cast<T>(value));
        x.push_back(static_cast<T>(-value));
    }
    return x;
}

template <class T>
double worst_error(int set, int number, double limit) {
    const std::vector<T> x = sample<T>(limit);
    Array<T> found(static_cast<Index>(x.size()));
    backend().evaluate(set, number, dtype_of<T>, x.data(), found.data(), static_cast<Index>(x.size()));
    if (!found.fences_stand()) fail("%s: %s wrote outside its output", backend().set_name(set), functions[number].name);
    const bool fused = std::string(backend().set_name(set)) != "scalar";
    const Function& function = functions[number];
    const double allowed = function.ulp * (fused ? 1 : 2);
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const long double exact = function.exact(static_cast<long double>(x[i]));
        if (!std::isfinite(exact)) continue;
        const T near = std::fabs(static_cast<T>(exact));
        const long double ulp = std::nextafter(near, std::numeric_limits<T>::infinity()) - near;
        const auto error = static_cast<double>(std::fabs(static_cast<long double>(found[i]) - exact) / ulp);
        if (!(error <= allowed))
            fail("%s: %s(%.17g) gave %.17g, %.3g ULP from %.17Lg, allowed %.2g", backend().set_name(set), function.name,
                 static_cast<double>(x[i]), static_cast<double>(found[i]), error, exact, allowed);
        worst = error > worst ? error : worst;
    }
    return worst;
}

template <class T>
void check_ends(int set) {
    const T infinity = std::numeric_limits<T>::infinity();
    const T x[3] = {std::numeric_limits<T>::quiet_NaN(), infinity, -infinity};
    for (int number = 0; number < function_count; ++number) {
        T found[3] = {0, 0, 0};
        backend().evaluate(set, number, dtype_of<T>, x, found, 3);
        const bool ends = functions[number].ends(static_cast<double>(found[1]), static_cast<double>(found[2]));
        if (!std::isnan(found[0]) || !ends)
            fail("%s: %s of NaN, inf, -inf gave %g, %g, %g", backend().set_name(set), functions[number].name,
                 static_cast<double>(found[0]), static_cast<double>(found[1]), static_cast<double>(found[2]));
    }
}

}  // namespace

void check_functions(int set) {
    for (int number = 0; number < function_count; ++number)
        std::printf("%s %.2f / %.2f, ", functions[number].name, worst_error<float>(set, number, 87),
                    worst_error<double>(set, number, 708));
    check_ends<float>(set);
    check_ends<double>(set);
}

}  // namespace native
